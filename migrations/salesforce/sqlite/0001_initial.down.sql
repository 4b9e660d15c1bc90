DROP TABLE changes;
DROP TABLE orders;
DROP TABLE comments;
DROP TABLE cases;
DROP TABLE contacts;
DROP TABLE accounts;
DROP TABLE counters;
DROP TABLE organizations;

DROP TABLE index_keys;
DROP TABLE deliveries;

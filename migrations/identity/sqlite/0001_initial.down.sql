DROP TABLE sign_in_failures;
DROP TABLE reset_tokens;
DROP TABLE refresh_tokens;
DROP TABLE credentials;
DROP TABLE users;
DROP TABLE organizations;
DROP TABLE keys;

DROP TABLE activation;

DROP TABLE audit;
DROP TABLE index_generation;
DROP TABLE requests;
DROP TRIGGER article_versions_stay;
DROP TRIGGER article_versions_are_final;
DROP TABLE article_versions;
DROP TABLE articles;

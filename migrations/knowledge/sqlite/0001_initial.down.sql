DROP TABLE activity_log;
DROP TABLE activity_heads;
DROP TABLE requests;
DROP TABLE knowledge_entries;
DROP TABLE articles;
DROP TABLE index_behind;
DROP TABLE index_generations;

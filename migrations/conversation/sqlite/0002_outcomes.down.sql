DROP TABLE intent_patterns;
DROP TABLE conversation_metrics;
DROP TABLE outcomes;

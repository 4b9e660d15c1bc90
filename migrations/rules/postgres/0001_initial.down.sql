DROP TABLE activation;
DROP FUNCTION refuse_to_edit_history();

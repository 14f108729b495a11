-- title: what this user may do
SHOW GRANTS

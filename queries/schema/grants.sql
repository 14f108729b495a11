-- title: what this user may do, by roles too
SHOW GRANTS FINAL

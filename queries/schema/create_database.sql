-- title: create the database
CREATE DATABASE IF NOT EXISTS `kalshi` /* ON CLUSTER */

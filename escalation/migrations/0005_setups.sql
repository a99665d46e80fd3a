-- Which key, address and settings a call was made with, as a hash: has anything ever succeeded with them?
ALTER TABLE calls ADD COLUMN setup TEXT

-- A table in memory with two indexes: filled, joined, changed, emptied.
PRAGMA cache_size = 20000;
CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, body TEXT, score INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @N@)
INSERT INTO t SELECT i, 'name-' || (i * 7919 % 100003), hex(zeroblob(i % 200)), i * 31 % 997 FROM n;
CREATE INDEX by_name ON t (name);
CREATE INDEX by_score ON t (score, name);
SELECT score, count(*), group_concat(substr(name, 1, 6)) FROM t WHERE id % 3 = 0 GROUP BY score ORDER BY 2 DESC LIMIT 5;
SELECT count(*) FROM t a JOIN t b ON a.name = b.name AND a.id < b.id;
UPDATE t SET body = body || name, score = score + 1 WHERE id % 2 = 0;
SELECT sum(length(body)) FROM t;
DELETE FROM t WHERE id % 5 <> 0;
SELECT count(*), max(name) FROM t;

BEGIN TRANSACTION;
CREATE TABLE assignments (
                name            TEXT PRIMARY KEY,
                max_mark        REAL NOT NULL DEFAULT 100,
                marks_metadata  TEXT,
                auto_check_keys TEXT
            );
INSERT INTO "assignments" VALUES('A1',100.0,'{"Q1": 10, "Q2": 15, "Q3": 15, "Analysis": 60}','["Q1", "Q2", "Q3"]');
INSERT INTO "assignments" VALUES('A2-Essay',100.0,NULL,NULL);
INSERT INTO "assignments" VALUES('A3-Checks',20.0,'{"Q1": 20}','["Q1"]');
CREATE TABLE students (
                username  TEXT PRIMARY KEY,
                full_name TEXT NOT NULL
            );
INSERT INTO "students" VALUES('alice','Alice Ångström');
INSERT INTO "students" VALUES('bob','Bob B');
INSERT INTO "students" VALUES('cleo','Cleo C');
CREATE TABLE submissions (
                assignment      TEXT NOT NULL REFERENCES assignments(name),
                student         TEXT NOT NULL,
                auto_mark       REAL,
                manual_mark     REAL,
                total_mark      REAL,
                feedback        TEXT NOT NULL DEFAULT '',
                cell_errors     INTEGER NOT NULL DEFAULT 0,
                tampered        TEXT NOT NULL DEFAULT '[]',
                check_results   TEXT NOT NULL DEFAULT '[]',
                graded_at       TEXT,
                autograded_at   TEXT NOT NULL DEFAULT (datetime('now')),
                updated_at      TEXT, penalty_pct REAL, penalised_mark REAL, submitted_at TEXT,
                PRIMARY KEY (assignment, student)
            );
INSERT INTO "submissions" VALUES('A1','alice',25.0,70.0,67.0,'Good work overall. The plot has no labels. See the sample solution.',0,'[]','[{"label": "Q1: first", "status": "success", "hidden": false}]','2026-11-22T15:57:17.937140','2026-11-22T15:57:17.910366','2026-11-22T15:57:17.948827',10.0,60.0,'1795292502');
INSERT INTO "submissions" VALUES('A1','bob',25.0,50.0,75.0,'Good work overall. The plot has no labels. See the sample solution.',0,'[]','[{"label": "Q1: first", "status": "success", "hidden": false}]','2026-11-22T15:57:17.948256','2026-11-22T15:57:17.971019','2026-11-22T15:57:17.971019',NULL,NULL,NULL);
INSERT INTO "submissions" VALUES('A1','cleo',40.0,90.0,94.0,'Good work overall. The plot has no labels. See the sample solution.',0,'[]','[{"label": "Q1: first", "status": "success", "hidden": false}]','2026-11-22T15:57:17.952956','2026-11-22T15:57:17.920789','2026-11-22T15:57:17.956821',100.0,0.0,'1795992502');
INSERT INTO "submissions" VALUES('A1','eve',25.0,NULL,NULL,'',0,'[]','[{"label": "Q1: first", "status": "success", "hidden": false}]',NULL,'2026-11-22T15:57:17.932880','2026-11-22T15:57:17.932880',NULL,NULL,NULL);
INSERT INTO "submissions" VALUES('A2-Essay','alice',NULL,65.0,65.0,'Good work overall. The plot has no labels. See the sample solution.',0,'[]','[{"label": "Q1: first", "status": "success", "hidden": false}]','2026-11-22T15:57:17.984849','2026-11-22T15:57:17.980862','2026-11-22T15:57:17.984849',NULL,NULL,NULL);
INSERT INTO "submissions" VALUES('A2-Essay','bob',NULL,80.0,80.0,'Fine.',0,'[]','[]','2026-11-22T15:57:17.987711','2026-11-22 15:57:17','2026-11-22T15:57:17.987711',NULL,NULL,NULL);
INSERT INTO "submissions" VALUES('A3-Checks','alice',20.0,NULL,NULL,'',0,'[]','[{"label": "Q1: first", "status": "success", "hidden": false}]',NULL,'2026-11-22T15:57:17.996834','2026-11-22T15:57:17.996834',NULL,NULL,NULL);
COMMIT;

"""What `vdt serve` prints works when pasted."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lib import artifacts, clients
from lib.vdt import Vdt


@pytest.fixture(scope="module")
def snippets(tmp_path_factory):
    """{first word of the heading: lines} of what is printed for a folder with quotes and spaces in its files' names."""
    work = tmp_path_factory.mktemp("snippets")
    artifacts.write_folder(work / "papers", artifacts.papers())
    with Vdt(work / "papers", state=work / "state", work=work / "run").start() as vdt:
        blocks: dict[str, list[str]] = {}
        heading = None
        for line in vdt.process.output().splitlines():
            if found := re.fullmatch(r"  (DuckDB|Polars|delta-rs|Spark)\b.*", line):
                heading = found[1]
                blocks[heading] = []
            elif heading and line.startswith("    "):
                blocks[heading].append(line[4:])
            else:
                heading = None
        assert set(blocks) == {"DuckDB", "Polars", "delta-rs", "Spark"}, vdt.process.output()
        yield blocks


def test_duckdb(snippets):
    connection = clients.duckdb_connection()  # in place of INSTALL and LOAD, which ask the internet
    sql = re.sub(r"\b(INSTALL|LOAD) \w+;", "", "\n".join(snippets["DuckDB"]))
    assert connection.execute(sql).fetchall()


@pytest.mark.parametrize("name", ["Polars", "delta-rs"])
def test_python(snippets, name):
    *statements, last = ast.parse("\n".join(snippets[name])).body
    names: dict = {}
    exec(compile(ast.Module(statements, []), name, "exec"), names)
    assert len(eval(compile(ast.Expression(last.value), name, "eval"), names)) == 5


def test_spark(snippets, tmp_path):
    why = clients.missing(clients.Spark)
    if why:
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    jars = ",".join(str(p) for p in sorted((clients._cache() / "spark-jars").glob("*.jar")))
    command, replaced = re.subn(r"--packages \S+", f"--jars {jars}", "\n".join(snippets["Spark"]))
    assert replaced == 1
    # Loopback only, and none of the minute that Spark spends on a catalog and on fifty tasks for a small log.
    quick = ["spark.driver.bindAddress=127.0.0.1", "spark.driver.host=127.0.0.1", "spark.ui.enabled=false"]
    quick += ["spark.sql.catalogImplementation=in-memory", "spark.databricks.delta.snapshotPartitions=1"]
    command = command.replace("spark-sql ", "spark-sql " + "".join(f"--conf {c} " for c in quick), 1)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", command], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sum(".pdf\t" in line for line in done.stdout.splitlines()) == 5, done.stdout

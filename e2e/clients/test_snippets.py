"""What `vdt serve` prints works when pasted, and so does what README.md shows."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lib import artifacts, clients
from lib.vdt import REPOSITORY, Vdt


@pytest.fixture(scope="module")
def vdt(tmp_path_factory):
    """Serves the samples, as the first example of README.md does, from a folder whose files have quotes and spaces in their names."""
    work = tmp_path_factory.mktemp("snippets")
    artifacts.write_folder(work / "papers", artifacts.papers())
    with Vdt(work / "papers", state=work / "state", work=work / "run").start() as vdt:
        yield vdt


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    """Serves the example of a table with columns of its own."""
    work = tmp_path_factory.mktemp("columns")
    with Vdt(REPOSITORY / "examples" / "columns.yaml", state=work / "state", work=work / "run").start() as vdt:
        yield vdt


@pytest.fixture
def snippets(vdt):
    return printed(vdt)


def printed(vdt) -> dict[str, str]:
    """{first word of the heading: text} of what is printed."""
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
    return {name: "\n".join(lines) for name, lines in blocks.items()}


@pytest.fixture
def readme(vdt):
    """{language: text} of what README.md shows, at the address of this vdt."""
    text = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"^```(sql|python|sh)\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["sql", "python", "sh"]
    return {language: block.replace("127.0.0.1:8080", vdt.listen) for language, block in blocks}


def duckdb(sql: str) -> list[tuple]:
    connection = clients.duckdb_connection()  # in place of INSTALL and LOAD, which ask the internet
    return connection.execute(re.sub(r"\b(INSTALL|LOAD) \w+;", "", sql)).fetchall()


def python(lines: str) -> list:
    """The values of the expressions among these lines."""
    names: dict = {}
    values = []
    for statement in ast.parse(lines).body:
        if isinstance(statement, ast.Expr):
            values.append(eval(compile(ast.Expression(statement.value), "snippet", "eval"), names))
        else:
            exec(compile(ast.Module([statement], []), "snippet", "exec"), names)
    return values


def test_duckdb(snippets):
    assert len(duckdb(snippets["DuckDB"])) == 5


@pytest.mark.parametrize("name", ["Polars", "delta-rs"])
def test_python(snippets, name):
    (rows,) = python(snippets[name])
    assert len(rows) == 5


def test_a_table_with_columns_of_its_own(columns):
    shown, rows = printed(columns), min(columns.table("figures").artifacts, 5)
    assert len(duckdb(shown["DuckDB"])) == rows
    for name in ["Polars", "delta-rs"]:
        (read,) = python(shown[name])
        assert len(read) == rows
    assert r"SELECT \`id\`, \`path\` FROM" in shown["Spark"]


def test_what_readme_shows_reads_the_samples(readme, snippets):
    letter = ("letter.pdf", artifacts.papers()["letter.pdf"])
    assert duckdb(readme["sql"]) == [letter]
    by_polars, by_delta_rs = python(readme["python"])
    assert by_polars.rows() == [letter]
    assert (by_delta_rs.num_rows, by_delta_rs.column_names) == (5, ["filename", "filesize"])
    assert readme["sh"] == snippets["Spark"]


def test_spark(snippets, tmp_path):
    why = clients.missing(clients.Spark)
    if why:
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    jars = ",".join(str(p) for p in sorted((clients._cache() / "spark-jars").glob("*.jar")))
    command, replaced = re.subn(r"--packages \S+", f"--jars {jars}", snippets["Spark"])
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

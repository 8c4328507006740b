"""The clients, unmodified, behind one small interface: open a table, ask for rows, ask again.

Each client states a filter in its own language and reads through its own code, so that every read path that users
have is tried. A session keeps what the client would keep between two queries: a table handle, a connection.

Rows may be asked for of an older version: by its number, or as of a time with a zone.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

REGION = "us-east-1"


@dataclass(frozen=True)
class Place:
    """A Delta table in an S3 service, or in a folder where there is no endpoint. Anonymous without keys."""

    uri: str
    endpoint: str = ""
    access_key: str | None = None
    secret_key: str | None = None

    @property
    def bucket(self) -> str:
        return self.uri.removeprefix("s3://").split("/", 1)[0]

    @property
    def host(self) -> str:
        return self.endpoint.removeprefix("http://")

    def through(self, endpoint: str) -> "Place":
        """The same table by way of another endpoint, a proxy say."""
        return Place(self.uri, endpoint, self.access_key, self.secret_key)

    def storage_options(self) -> dict[str, str]:
        """For delta-rs and Polars, which share them."""
        if not self.endpoint:
            return {}
        options = {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": REGION}
        if self.access_key:
            return options | {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return options | {"AWS_SKIP_SIGNATURE": "true"}


def place_of(table) -> Place:
    """The place of a `vdt.Table`."""
    return Place(table.s3, table.endpoint)


@dataclass(frozen=True)
class Where:
    """A filter on one column. `op` is one of: eq, in, range (half-open: lower bound inclusive), null, not_null."""

    column: str
    op: str
    values: tuple = ()

    def sql(self) -> str:
        v = [literal(x) for x in self.values]
        return {
            "eq": lambda: f"{self.column} = {v[0]}",
            "in": lambda: f"{self.column} IN ({', '.join(v)})",
            "range": lambda: f"{self.column} >= {v[0]} AND {self.column} < {v[1]}",
            "null": lambda: f"{self.column} IS NULL",
            "not_null": lambda: f"{self.column} IS NOT NULL",
        }[self.op]()


def literal(value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def select(columns: list[str], source: str, where: Where | None) -> str:
    return f"SELECT {', '.join(columns)} FROM {source}" + (f" WHERE {where.sql()}" if where else "")


class DeltaDataset:
    """delta-rs, its table read as a pyarrow dataset."""

    name = "delta-rs dataset"

    def __init__(self, place: Place):
        import deltalake

        self.place, self._open = place, deltalake.DeltaTable
        self.table = self._open(place.uri, storage_options=place.storage_options())
        self._asked = False

    def _at(self, version: int | datetime | None):
        if isinstance(version, datetime):
            table = self._open(self.place.uri, storage_options=self.place.storage_options())
            table.load_as_version(version)
            return table
        if version is not None:
            return self._open(self.place.uri, version=version, storage_options=self.place.storage_options())
        if self._asked:  # the first query is of the version that was opened
            self.table.update_incremental()
        self._asked = True
        return self.table

    def version(self) -> int:
        return self._at(None).version()

    def schema(self) -> dict[str, str]:
        """Types by column, in the words of a Delta log."""
        return _in_words((f.name, f.type) for f in self._at(None).to_pyarrow_dataset().schema)

    def rows(
        self, columns: list[str], where: Where | None = None, version: int | datetime | None = None
    ) -> list[tuple]:
        import pyarrow.compute as pc

        expression = None
        if where:
            c = pc.field(where.column)
            expression = {
                "eq": lambda: c == where.values[0],
                "in": lambda: c.isin(list(where.values)),
                "range": lambda: (c >= where.values[0]) & (c < where.values[1]),
                "null": lambda: c.is_null(),
                "not_null": lambda: c.is_valid(),
            }[where.op]()
        return _tuples(self._at(version).to_pyarrow_dataset().to_table(columns=columns, filter=expression), columns)

    def count(self) -> int:
        table = self._at(None)
        by_scan, by_log = table.to_pyarrow_dataset().count_rows(), table.count()
        assert by_scan == by_log, (by_scan, by_log)
        return by_scan

    def close(self):
        pass


class DeltaQuery(DeltaDataset):
    """delta-rs, its table read by its own DataFusion (`QueryBuilder`)."""

    name = "delta-rs query"

    def _query(self, columns, where=None, version=None):
        import pyarrow
        from deltalake import QueryBuilder

        batches = QueryBuilder().register("t", self._at(version)).execute(select(columns, "t", where))
        return pyarrow.table(batches.read_all())

    def schema(self):
        return _in_words((f.name, f.type) for f in self._query(["*"], Where("id", "null")).schema)

    def rows(self, columns, where=None, version=None):
        return _tuples(self._query(columns, where, version), columns)

    def count(self) -> int:
        return self.rows(["count(*)"])[0][0]


class Polars:
    """Polars: delta-rs reads the log, Polars' own reader the files."""

    name = "Polars"

    def __init__(self, place: Place):
        self.place = place

    def _scan(self, version=None):
        import polars

        return polars.scan_delta(self.place.uri, version=version, storage_options=self.place.storage_options())

    def schema(self):
        return _in_words(self._scan().collect_schema().items())

    def rows(self, columns, where=None, version=None):
        import polars

        frame = self._scan(version)
        if where:
            c = polars.col(where.column)
            frame = frame.filter(
                {
                    "eq": lambda: c == where.values[0],
                    "in": lambda: c.is_in(list(where.values)),
                    "range": lambda: (c >= where.values[0]) & (c < where.values[1]),
                    "null": lambda: c.is_null(),
                    "not_null": lambda: c.is_not_null(),
                }[where.op]()
            )
        return frame.select(columns).collect().rows()

    def count(self) -> int:
        import polars

        return self._scan().select(polars.len()).collect().item()

    def close(self):
        pass


class DuckDB:
    """DuckDB with its Delta extension, one connection per session."""

    name = "DuckDB"

    def __init__(self, place: Place):
        self.place, self.connection = place, duckdb_connection()
        if not place.endpoint:
            return
        keys = f"key_id '{place.access_key}', secret '{place.secret_key}', " if place.access_key else ""
        self.connection.execute(
            f"CREATE SECRET (TYPE s3, {keys}endpoint '{place.host}', url_style 'path', use_ssl false, "
            f"region '{REGION}', scope 's3://{place.bucket}')"
        )

    def schema(self):
        described = self.connection.execute(f"DESCRIBE SELECT * FROM delta_scan({literal(self.place.uri)})")
        return _in_words(row[:2] for row in described.fetchall())

    def rows(self, columns, where=None, version=None):
        at = "" if version is None else f", version => {version}"
        source = f"delta_scan({literal(self.place.uri)}{at})"
        return self.connection.execute(select(columns, source, where)).fetchall()

    def count(self) -> int:
        return self.rows(["count(*)"])[0][0]

    def close(self):
        self.connection.close()


class Spark:
    """Spark with delta-spark, by S3A. All sessions share one JVM, which knows one endpoint for each bucket."""

    name = "Spark"

    def __init__(self, place: Place):
        self.place, self.session = place, spark_session()
        conf = self.session.sparkContext._jsc.hadoopConfiguration()
        prefix = f"fs.s3a.bucket.{place.bucket}."
        known = conf.get(prefix + "endpoint")
        if known not in (None, place.endpoint):
            raise ValueError(f"bucket {place.bucket} is at {known} in this JVM; another endpoint needs another catalog")
        conf.set(prefix + "endpoint", place.endpoint)
        if place.access_key:
            conf.set(prefix + "access.key", place.access_key)
            conf.set(prefix + "secret.key", place.secret_key)
        else:
            provider = "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"
            conf.set(prefix + "aws.credentials.provider", provider)

    @property
    def uri(self) -> str:
        return self.place.uri.replace("s3://", "s3a://")

    def _frame(self, version=None):
        reader = self.session.read.format("delta")
        if isinstance(version, datetime):
            reader = reader.option("timestampAsOf", version.isoformat(sep=" "))
        elif version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.uri)

    def schema(self):
        return _in_words((f.name, f.dataType.typeName()) for f in self._frame().schema)

    def rows(self, columns, where=None, version=None):
        from pyspark.sql import functions as f

        frame = self._frame(version)
        if where:
            c = f.col(where.column)
            frame = frame.where(
                {
                    "eq": lambda: c == where.values[0],
                    "in": lambda: c.isin(list(where.values)),
                    "range": lambda: (c >= where.values[0]) & (c < where.values[1]),
                    "null": lambda: c.isNull(),
                    "not_null": lambda: c.isNotNull(),
                }[where.op]()
            )
        collected = frame.select(*columns).collect()
        return [tuple(bytes(v) if isinstance(v, bytearray) else v for v in row) for row in collected]

    def count(self) -> int:
        return self._frame().count()

    def close(self):
        pass


ALL = [DeltaDataset, DeltaQuery, Polars, DuckDB, Spark]


def duckdb_connection():
    """A connection with the extensions of the wheels loaded. A user with the internet says INSTALL delta instead."""
    import duckdb
    import duckdb_extension_delta
    import duckdb_extension_httpfs

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for module, name in ((duckdb_extension_httpfs, "httpfs"), (duckdb_extension_delta, "delta")):
        found = next(Path(module.__file__).parent.rglob(f"{name}.duckdb_extension"))
        connection.execute(f"LOAD {literal(str(found))}")
    return connection


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VDT_E2E_CACHE") or Path(base) / "vdt-e2e")


def missing(client) -> str | None:
    """Why this client cannot run on this machine, None if it can."""
    if client is Spark and not (_cache() / "spark-jars" / "stamp").exists():
        return "Spark needs java and mvn (e2e/setup.sh fetches the rest)"
    return None


_spark = None


def spark_session():
    """The one session of this process."""
    global _spark
    if _spark is None:
        from pyspark.sql import SparkSession

        jars = ",".join(str(p) for p in sorted((_cache() / "spark-jars").glob("*.jar")))
        settings = {
            "spark.jars": jars,
            "spark.driver.memory": "1500m",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.sql.shuffle.partitions": "1",
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
            "spark.hadoop.fs.s3a.endpoint.region": REGION,
            "spark.hadoop.fs.s3a.attempts.maximum": "3",
            "spark.hadoop.fs.s3a.retry.limit": "2",
        }
        builder = SparkSession.builder.master("local[2]").appName("vdt-e2e")
        for key, value in settings.items():
            builder = builder.config(key, value)
        _spark = builder.getOrCreate()
        _spark.sparkContext.setLogLevel("ERROR")
    return _spark


def stop_spark():
    global _spark
    if _spark is not None:
        _spark.stop()
        _spark = None


# Types in the words of a Delta log, by what the clients call them.
_WORDS = {
    "long": ("int64", "bigint"),
    "string": ("large_string", "string_view", "varchar"),
    "binary": ("large_binary", "binary_view", "blob"),
}


def _in_words(fields) -> dict[str, str]:
    words = {name: word for word, names in _WORDS.items() for name in names}
    return {name: words.get(str(found).lower(), str(found).lower()) for name, found in fields}


def _tuples(table, columns: list[str]) -> list[tuple]:
    if table.num_columns == 0:
        return [()] * table.num_rows
    return list(zip(*(table.column(i).to_pylist() for i in range(len(columns))), strict=True))

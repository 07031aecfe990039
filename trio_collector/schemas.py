"""The Arrow schemas on disk: of Parquet files, and of the journals that they are made from.

The columns of a file are those of the Rust archive. A journal holds one stream, so `exchange` and
`symbol` are in its schema's metadata instead of in every row.
"""

import pyarrow as pa

from trio_collector.events import DataType

SCHEMA_VERSION = "1"


def data_field(data_type: DataType) -> pa.Field:
    """Return the column of frames: text, except where the bytes could not be read as a message."""
    kind = pa.binary() if data_type is DataType.UNPARSED else pa.string()
    return pa.field("data", kind, nullable=False)


def journal_schema(data_type: DataType) -> pa.Schema:
    """Return the columns of a journal of `data_type`."""
    return pa.schema(
        [
            pa.field("exchange_sequence_id", pa.string(), nullable=False),
            pa.field("timestamp_collector", pa.int64(), nullable=False),
            pa.field("timestamp_exchange", pa.int64(), nullable=True),
            data_field(data_type),
        ]
    )


def file_schema(data_type: DataType) -> pa.Schema:
    """Return the columns of a sealed file of `data_type`."""
    return pa.schema(
        [
            pa.field("exchange", pa.string(), nullable=False),
            pa.field("symbol", pa.string(), nullable=False),
            *journal_schema(data_type),
        ]
    )

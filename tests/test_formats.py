"""CSV, WAV and MCAP: the contract, and what is particular to each."""



from tests.contracts.format import FormatContract


class TestCsv(FormatContract):
    kind = "csv"


class TestCsvPhysical(FormatContract):
    kind = "csv"
    options = {"units": "physical", "timestamp": "seconds"}  # noqa: RUF012


class TestWav(FormatContract):
    kind = "wav"


class TestMcap(FormatContract):
    kind = "mcap"
    native = True

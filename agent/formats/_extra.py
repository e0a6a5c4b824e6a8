"""Libraries that one format alone needs: not installed with this distribution but as one of its extras."""

import importlib


def missing(library: str, extra: str) -> list[tuple[str, object, str]]:
    """The mistake of asking for a format whose library is not there, for `drivers.check`; empty where it is.

    It is loaded here, while the configuration is read, and not when it is first used: then sensors stream, and
    loading keeps the interpreter from them for as long as an SD card takes.
    """
    try:
        importlib.import_module(library)
    except (ImportError, OSError) as error:  # OSError: soundfile's, where there is no libsndfile
        return [("kind", extra, f"needs {library} ({error}): pip install 'capture-agent[{extra}]'")]
    return []

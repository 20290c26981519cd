"""The errors a user can meet. Each message names the file or layer, what was expected and what to do."""


class SpikedetError(Exception):
    """Base of every error that spikedet raises on purpose; the CLI prints it as one sentence."""


class ConfigError(SpikedetError, ValueError):
    """A setting is unknown, of the wrong type or outside its range."""


class DataError(SpikedetError, ValueError):
    """A dataset, annotation or image cannot be used. The message begins with its path."""


class CheckpointError(SpikedetError):
    """A checkpoint is foreign, truncated, newer than this version, or holds invalid weights."""


class ConversionError(SpikedetError):
    """A layer cannot spike. The message names its qualified path and what to use instead."""


class ExportError(SpikedetError):
    """A format cannot hold a network as it is. The message names the layer and what would be lost."""


class TrainingError(SpikedetError):
    """Training cannot go on, for example because the loss is no longer finite."""

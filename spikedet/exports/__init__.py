"""Networks in the files of other engines: exact, or refused with the reason; read back to be checked and evaluated.

A format is a row of ``formats.FORMATS``: a function that writes a file and one that runs it.
"""

from spikedet.exports.formats import FORMATS, Format, format_of, format_to_read
from spikedet.exports.subject import Outputs, Subject

__all__ = ["FORMATS", "Format", "Outputs", "Subject", "format_of", "format_to_read"]

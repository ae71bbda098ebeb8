"""Writes the table of docs/forms.md: which operator has which form.

    python -m tools.forms_table

Run it when a kernel comes or goes, or a bound moves; a test compares.
"""

from attn8_host.forms.table import put_into
from attn8_host.paths import DEVICE

PATH = DEVICE.parent / "docs/forms.md"

if __name__ == "__main__":
    PATH.write_text(put_into(PATH.read_text(encoding="utf-8")), encoding="utf-8")

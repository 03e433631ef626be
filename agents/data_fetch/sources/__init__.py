"""One file a source of prices; `source.py` says what each of them promises."""

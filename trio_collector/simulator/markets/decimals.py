"""Whole numbers of smallest steps as the decimal texts that exchanges print."""

import functools

# A book shows mostly the levels that it showed before, so nearly every text is printed again.
_CACHED = functools.lru_cache(maxsize=65_536)


@_CACHED
def fixed(steps: int, decimals: int, places: int) -> str:
    """Return `steps` * 10 ** -`decimals` with just `places` (>= `decimals`) digits behind the point."""
    digits = f"{steps * 10 ** (places - decimals):0{places + 1}d}"
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


@_CACHED
def trimmed(steps: int, decimals: int) -> str:
    """Return `steps` * 10 ** -`decimals` without trailing zeros."""
    text = fixed(steps, decimals, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


@_CACHED
def number(steps: int, decimals: int) -> str:
    """Return `steps` * 10 ** -`decimals` as a JSON number, in exponent form where it is tiny."""
    return repr(steps / 10**decimals) if decimals else str(steps)

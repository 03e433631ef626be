"""Calendar: how many bars a year the sessions of a history stand for, as annual figures and rates count them.

A usual number and not a count: an exchange has 252 days a year whatever the holidays of the file, so that two histories
of one market never differ in it. It knows daily bars, on exchange days or on all days, weekly and monthly ones;
anything else is taken for exchange days, and the quality report says where that does not fit.
"""

import numpy as np

from backtesting.bars import Sessions

EXCHANGE_DAYS, ALL_DAYS, WEEKS, MONTHS = 252.0, 365.0, 52.0, 12.0
USUAL = (MONTHS, WEEKS, EXCHANGE_DAYS, ALL_DAYS)

# Two weekends: below that a market that trades every day cannot be told from one with a stray Saturday.
MIN_BARS = 14
# Of the days of a week 2/7 fall on a weekend, and 1/6 where only Sundays are traded.
WEEKEND_SHARE = 0.2


def periods_a_year(sessions: Sessions) -> float:
    """252, 365, 52 or 12, from (n,) increasing session dates; 252 where they are too few to tell."""
    if len(sessions) < MIN_BARS:
        return EXCHANGE_DAYS
    days = float(np.median(np.diff(sessions.astype("int64"))))
    if days == 1.0:
        return ALL_DAYS if float(np.mean(~np.is_busday(sessions))) > WEEKEND_SHARE else EXCHANGE_DAYS
    if 6.0 <= days <= 8.0:
        return WEEKS
    return MONTHS if 27.0 <= days <= 32.0 else EXCHANGE_DAYS

"""Public data sets, ready for ``obs=``: fetched once, checked, opened lazily, with clean metadata.

Every function takes the years, and returns a Dataset whose variables have a ``standard_name``, units that are
understood, missing values as NaN, and say which period a value stands for. Files are kept in the cache of the package,
which the environment variable ``XSLAMS_CACHE`` moves. See the page on data sets for addresses, licences and mirrors.
"""

from xslams.datasets.chaosbench import era5_chaosbench
from xslams.datasets.psl import cpc, ncep, noaa_olr
from xslams.datasets.stations import uscrn

__all__ = ["cpc", "era5_chaosbench", "ncep", "noaa_olr", "uscrn"]

"""The classical reference on the real case: optimal interpolation of station temperatures.

Background is the seasonal climatology of the training period (a constant and two annual harmonics), background
covariance that of the training anomalies, localised by the function of Gaspari and Cohn (1999, eq. 4.10,
doi:10.1002/qj.49712555417), errors of the stations those of their calibration. Observations of `days` days around the
analysis enter with the lagged covariances.

    analysis = climatology + B_gs (B_ss + R)^-1 (y - climatology at the stations),
    variance = diag(B_gg - B_gs (B_ss + R)^-1 B_sg)

Two kinds are printed. One takes the day of a station for a UTC day, as is usual. The other observes the local day (see
`benchmarks.cases.ncep`), is localised at 3000 km and takes the harmonics that cross-validation in the training period
prefers: everything that we learned about the case and that a classical method can use as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.linalg import cho_factor, cho_solve

from benchmarks.cases.ncep import Array, shares
from benchmarks.cases.seasons import annual_phase, harmonics
from xslams.localization import gaspari_cohn

_RADIUS = 6371.0


def distances(lat1: Array, lon1: Array, lat2: Array, lon2: Array) -> Array:
    """Great-circle distances in km, shape (n1, n2)."""
    a, b = np.deg2rad(lat1)[:, None], np.deg2rad(lat2)
    c = np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(np.deg2rad(lon1)[:, None] - np.deg2rad(lon2))
    return _RADIUS * np.arccos(np.clip(c, -1.0, 1.0))


@dataclass(frozen=True)
class Calibration:
    """Bias and error of every place of a source, from the time when the truth was known.

    Attributes
    ----------
    coefficients
        Of constant and annual harmonic of the bias, shape (3, place).
    error
        Standard deviation of the residual, shape (place,); NaN where too little was known.
    """

    coefficients: Array
    error: Array

    @classmethod
    def estimate(cls, difference: Array, time: xr.DataArray, ridge: float, least: int) -> Calibration:
        """From differences between source and truth, shape (time, place), NaN where one of them is missing."""
        basis = harmonics(annual_phase(time), 1)
        coefficients = np.zeros((3, difference.shape[1]))
        error = np.full(difference.shape[1], np.nan)
        for n, column in enumerate(difference.T):
            known = np.isfinite(column)
            if known.sum() < least:
                continue
            b = basis[known]
            penalty = ridge * len(b) * np.diag([0.0, 1.0, 1.0])
            coefficients[:, n] = np.linalg.solve(b.T @ b + penalty, b.T @ column[known])
            error[n] = np.sqrt(np.mean((column[known] - b @ coefficients[:, n]) ** 2))
        return cls(coefficients, error)

    def bias(self, time: xr.DataArray) -> Array:
        """Bias at some times, shape (time, place)."""
        return harmonics(annual_phase(time), 1) @ self.coefficients


@dataclass(frozen=True)
class OptimalInterpolation:
    """Settings of a reference.

    Attributes
    ----------
    name
        For the table.
    days
        Days of observations for each analysis, odd.
    length
        Localisation: the covariance is zero from twice this distance on, km.
    order
        Harmonics of the climatology.
    local_day
        Whether stations observe their local day, or the UTC day of its stamp.
    """

    name: str
    days: int = 1
    length: float = 2000.0
    order: int = 2
    local_day: bool = False

    def analyse(self, training: xr.Dataset, testing: xr.Dataset, stations: xr.Dataset) -> tuple[Array, Array]:
        """Mean and variance for each day of `testing`, in K; shape (time, lat, lon) each."""
        reach = self.days // 2
        lat, lon = (c.ravel() for c in np.meshgrid(training["lat"].values, training["lon"].values, indexing="ij"))
        # Interpolated as observations are, so that the reference and xslams differ in nothing else.
        place = xr.Dataset(coords={c: ("station", stations[c].values) for c in ("lat", "lon")})
        late = shares(stations["zone"].values) * self.local_day

        def at_stations(field: xr.DataArray) -> Array:
            values = field.slams.regrid(place).transpose("time", "station").values
            after = np.concatenate([values[1:], values[-1:]])
            return (1 - late) * values + late * after

        past = training["air"]
        basis = harmonics(annual_phase(past["time"]), self.order)
        coefficients = np.linalg.lstsq(basis, past.values.reshape(len(basis), -1), rcond=None)[0]
        anomaly = past.values.reshape(len(basis), -1) - basis @ coefficients
        period = xr.concat([past["time"], testing["time"]], dim="time")
        mean = harmonics(annual_phase(period), self.order) @ coefficients
        climatology = xr.DataArray(
            mean.reshape(-1, *past.shape[1:]), {"time": period, "lat": past["lat"], "lon": past["lon"]},
            ("time", "lat", "lon"),
        )  # fmt: skip
        model_at = at_stations(climatology)
        station_anomaly = at_stations(past) - model_at[: len(basis)]
        observed = stations["tavg"].sel(time=period).values + 273.15
        difference = observed[: len(basis)] - at_stations(past)
        difference[-1] = np.nan  # its local day needs the day after
        calibration = Calibration.estimate(
            difference, past["time"], ridge=0.0 if not self.local_day else 0.3, least=120
        )
        innovation = (observed - calibration.bias(period) - model_at)[len(basis) :]
        used = np.isfinite(calibration.error)
        s_lat, s_lon = stations["lat"].values, stations["lon"].values
        near_grid = gaspari_cohn(distances(lat, lon, s_lat, s_lon), self.length)
        near_station = gaspari_cohn(distances(s_lat, s_lon, s_lat, s_lon), self.length)
        count = len(basis)

        def lagged(a: Array, b: Array, lag: int) -> Array:
            if lag < 0:
                return lagged(b, a, -lag).T
            return a[: count - lag].T @ b[lag:] / count

        to_grid = {lag: near_grid * lagged(anomaly, station_anomaly, lag) for lag in range(-reach, reach + 1)}
        among = {
            lag: near_station * lagged(station_anomaly, station_anomaly, lag)
            for lag in range(-2 * reach, 2 * reach + 1)
        }
        prior = (anomaly**2).mean(axis=0)
        error = calibration.error**2
        frames = len(innovation)
        analysis = np.empty((frames, lat.size))
        variance = np.empty((frames, lat.size))
        for t in range(frames):
            blocks = [
                (lag, np.flatnonzero(np.isfinite(innovation[t + lag]) & used))
                for lag in range(-reach, reach + 1)
                if 0 <= t + lag < frames
            ]
            y = np.concatenate([innovation[t + lag, used_now] for lag, used_now in blocks])
            gain = np.concatenate([to_grid[lag][:, used_now] for lag, used_now in blocks], axis=1)
            system = np.block([[among[m - lag][np.ix_(a, b)] for m, b in blocks] for lag, a in blocks])
            system[np.diag_indices(len(y))] += np.concatenate([error[used_now] for _, used_now in blocks])
            factor = cho_factor((system + system.T) / 2)
            analysis[t] = mean[len(basis) + t] + gain @ cho_solve(factor, y)
            variance[t] = prior - (gain * cho_solve(factor, gain.T).T).sum(axis=1)
        shape = testing["air"].shape
        return analysis.reshape(shape), np.maximum(variance, 1e-6).reshape(shape)

    def climatology(self, training: xr.Dataset, testing: xr.Dataset) -> tuple[Array, Array]:
        """Mean and variance without any observation."""
        basis = harmonics(annual_phase(training["time"]), self.order)
        values = training["air"].values.reshape(len(basis), -1)
        coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
        variance = ((values - basis @ coefficients) ** 2).mean(axis=0)
        shape = testing["air"].shape
        mean = (harmonics(annual_phase(testing["time"]), self.order) @ coefficients).reshape(shape)
        return mean, np.broadcast_to(variance.reshape(shape[1:]), shape)


#: What the table shows.
REFERENCES = (
    OptimalInterpolation("OI, one day"),
    OptimalInterpolation("OI, three days", days=3),
    OptimalInterpolation("OI, local day, 3000 km", length=3000.0, order=1, local_day=True),
    OptimalInterpolation("OI, local day, 3000 km, 3 d", days=3, length=3000.0, order=1, local_day=True),
)

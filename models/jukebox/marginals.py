"""What the generator's songs and countries look like: facts of real charts of 2023-24, as numbers and nothing else.

Shifts, tastes and tilts are in standard deviations of a latent normal variable, one for each of `DIMENSIONS`.
"""

from __future__ import annotations

DIMENSIONS = (
    "is_explicit", "duration_ms", "danceability", "energy", "loudness", "mode",
    "speechiness", "acousticness", "instrumentalness", "liveness", "valence", "tempo",
)  # fmt: skip

# Pearson correlations of the latent variables, below the diagonal, in the order of DIMENSIONS. What becomes of them
# depends on the marginals: half of `instrumentalness` is 0, so only a strong latent correlation is still seen.
CORRELATIONS = (
    (),
    (-0.21,),
    (0.27, -0.21),
    (0.05, -0.02, 0.17),
    (0.06, -0.02, 0.16, 0.79),
    (-0.08, 0.08, -0.12, -0.08, -0.03),
    (0.38, -0.17, 0.21, 0.05, 0.00, -0.11),
    (-0.15, 0.04, -0.27, -0.53, -0.35, 0.04, -0.06),
    (-0.18, -0.02, 0.01, -0.25, -0.62, -0.03, -0.17, -0.01),
    (0.01, -0.05, -0.15, 0.17, 0.12, 0.03, 0.03, -0.03, -0.12),
    (-0.07, -0.10, 0.36, 0.36, 0.30, -0.06, 0.05, -0.08, -0.15, 0.02),
    (-0.01, -0.03, -0.11, 0.12, 0.05, 0.01, 0.02, -0.09, 0.02, 0.04, 0.05),
)

EXPLICIT = 0.3265  # share of songs
MAJOR = 0.512
NOT_INSTRUMENTAL = 0.491  # share of songs whose instrumentalness is exactly 0
KEYS = (0.099, 0.127, 0.084, 0.034, 0.072, 0.084, 0.080, 0.092, 0.079, 0.087, 0.073, 0.089)
TIME_SIGNATURES = {0: 0.0001, 1: 0.0046, 3: 0.0608, 4: 0.9141, 5: 0.0204}

# Between two levels the quantiles are interpolated: their logarithms where a column spans orders of magnitude.
LEVELS = (0, 0.001, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.999, 1)
LOGARITHMIC = ("duration_ms", "speechiness", "acousticness", "instrumentalness", "liveness")
QUANTILES = {
    "duration_ms": (
        31_000, 41_600, 82_300, 105_000, 118_400, 132_600, 148_800, 160_500, 171_300, 181_400, 192_800, 207_000,
        225_400, 255_400, 285_200, 322_800, 400_600, 660_000, 939_666,
    ),
    "danceability": (
        0.08, 0.178, 0.292, 0.359, 0.422, 0.486, 0.561, 0.614, 0.657, 0.695, 0.729, 0.762, 0.797, 0.843, 0.879,
        0.903, 0.928, 0.968, 0.988,
    ),
    "energy": (
        0.005, 0.0369, 0.159, 0.247, 0.330, 0.417, 0.507, 0.568, 0.622, 0.668, 0.707, 0.750, 0.802, 0.862, 0.902,
        0.932, 0.955, 0.988, 0.998,
    ),
    "loudness": (
        -37.334, -29.7, -19.2, -14.9, -12.6, -10.7, -8.95, -8.0, -7.25, -6.61, -6.04, -5.45, -4.81, -3.95, -3.28,
        -2.73, -1.92, 0.0, 3.233,
    ),
    "speechiness": (
        0.0225, 0.0242, 0.0264, 0.0278, 0.0297, 0.0326, 0.0389, 0.0466, 0.0561, 0.0698, 0.0935, 0.136, 0.200, 0.290,
        0.355, 0.415, 0.480, 0.694, 0.921,
    ),
    "acousticness": (
        7.5e-6, 5.16e-5, 9.34e-4, 0.00234, 0.00629, 0.0179, 0.0474, 0.0876, 0.136, 0.197, 0.276, 0.374, 0.509,
        0.682, 0.795, 0.875, 0.939, 0.988, 0.996,
    ),
    "instrumentalness": (  # of those above 0
        1e-6, 1.02e-6, 1.12e-6, 1.26e-6, 1.55e-6, 2.41e-6, 6.41e-6, 1.7e-5, 4.74e-5, 1.41e-4, 4.72e-4, 0.00177,
        0.0101, 0.118, 0.577, 0.842, 0.916, 0.964, 0.974,
    ),
    "liveness": (
        0.0139, 0.0237, 0.0412, 0.0520, 0.0630, 0.0767, 0.0923, 0.104, 0.112, 0.126, 0.149, 0.190, 0.265, 0.353,
        0.452, 0.593, 0.731, 0.953, 0.978,
    ),
    "valence": (
        0.0301, 0.0365, 0.0761, 0.123, 0.165, 0.225, 0.324, 0.396, 0.469, 0.536, 0.603, 0.678, 0.758, 0.854, 0.917,
        0.951, 0.965, 0.978, 0.992,
    ),
    "tempo": (
        46.0, 60.4, 73.0, 76.5, 80.9, 88.9, 96.1, 103.6, 113.0, 121.8, 128.0, 136.0, 144.9, 160.0, 172.1, 180.0,
        194.0, 207.8, 235.907,
    ),
}  # fmt: skip
POPULARITY_LEVELS = (0, 0.002, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
POPULARITY = (0, 20, 37, 52, 57.5, 66, 79, 87, 91.5, 93.5, 97, 100)  # of chart rows, not of songs

# Eight kinds of song, and how each differs from the mean song, in the order of DIMENSIONS.
CLUSTERS = {
    "pop": (0, 0, 0.2, 0.2, 0.3, 0.2, -0.4, -0.1, -0.2, 0, 0.3, 0),
    "rap": (1.1, -0.5, 0.5, -0.1, -0.1, -0.2, 1.1, -0.3, -0.1, 0.1, -0.1, 0.1),
    "reggaeton": (0.5, 0, 0.8, 0.4, 0.5, -0.2, 0.2, 0, -0.2, 0, 0.4, -0.2),
    "ballad": (-0.6, 0.4, -0.8, -1.1, -0.7, 0.5, -0.7, 1.1, 0, -0.2, -0.7, 0),
    "rock": (-0.3, 0.3, -0.6, 0.7, 0.4, 0.4, -0.3, -0.7, 0.2, 0.2, 0, 0.3),
    "dance": (-0.1, -0.4, 0.4, 0.8, 0.3, -0.2, -0.1, -0.6, 0.6, 0, 0, 0.2),
    "folk": (-0.8, 0.4, -0.1, 0, -0.1, 0, -0.2, 0.6, -0.1, 0.2, 0.3, -0.1),
    "slow house": (-0.5, 0.8, 0.2, -1.0, -2.0, 0, -0.4, -0.2, 2.2, -0.3, -0.4, 0),
}
# Countries that share songs: each with how much of its list is its own (0 to 9); how close they are to each other; how
# far their songs travel; and their taste, as weights of the eight clusters.
REGIONS = {
    "anglo": ("AU1 CA0 GB0 IE0 NZ0 US0", 5.4, 1.6, (5, 3, 0.5, 1.5, 2, 1, 1, 0)),
    "latin": (
        "AR2 BO0 CL6 CO2 CR1 DO5 EC0 ES5 GT0 HN0 MX3 NI1 PA2 PE1 PY1 SV0 UY2 VE1",
        5.4,
        0.6,
        (1, 2, 7, 1, 0.5, 0.5, 2, 0),
    ),
    "lusophone": ("BR7 PT5", 2.5, 0.0, (1, 2, 3, 0.5, 0.5, 1, 5, 0)),
    "german": ("AT1 CH1 DE2 LU0", 5.4, 0.2, (4, 4, 0.5, 1, 1, 4, 0.5, 0)),
    "west": ("BE1 FR5 IT9 NL3", 2.2, 0.2, (3, 5, 1, 1, 0.5, 2, 1, 0)),
    "nordic": ("DK5 FI8 IS7 NO5 SE5", 2.2, 0.2, (4, 3, 0.2, 1, 1, 2, 1, 0)),
    "east": ("BG6 CZ4 EE2 GR9 HU6 LT3 LV0 PL5 RO7 SK4", 2.2, 0.0, (2, 5, 1, 1, 1, 2, 2, 0)),
    "cyrillic": ("BY6 KZ6 UA5", 4.0, 0.0, (3, 4, 0.2, 1, 2, 4, 1, 0.3)),
    "levant": ("AE0 EG9 IL9 MA9 SA4 TR9", 1.4, 0.0, (1, 3, 2, 1, 0.5, 0.5, 5, 0)),
    "africa": ("NG9 ZA8", 1.4, 0.3, (1, 3, 1, 0.5, 0, 3, 2, 3)),
    "south asia": ("IN5 PK5", 5.4, 0.0, (1, 1, 0.5, 4, 0, 0.5, 6, 0)),
    "east asia": ("HK6 JP9 KR6 TW6", 2.2, 0.4, (5, 0.7, 0.2, 4, 3, 1.5, 0.5, 0)),
    "south-east asia": ("ID7 MY3 PH7 SG0 TH8 VN8", 2.2, 0.0, (3, 1, 0.3, 6, 1, 0.5, 1.5, 0)),
}

# Means over the chart rows of a country, where they are known: a share, or the column's own unit.
PROFILED = (
    "is_explicit",
    "duration_ms",
    "danceability",
    "energy",
    "loudness",
    "mode",
    "speechiness",
    "acousticness",
    "instrumentalness",
)
PROFILES = {
    "ZA": (0.23, 300_000, 0.731, 0.600, -8.99, 0.54, 0.082, 0.133, 0.081),
    "VN": (0.12, 214_000, 0.684, 0.535, -8.42, 0.68, 0.078, 0.485, 0.013),
    "VE": (0.56, 194_000, 0.757, 0.689, -5.36, 0.43, 0.114, 0.263, 0.009),
    "US": (0.47, 198_000, 0.639, 0.601, -7.06, 0.69, 0.083, 0.265, 0.014),
    "TW": (0.11, 202_000, 0.640, 0.621, -6.38, 0.74, 0.061, 0.303, 0.001),
    "IN": (0.02, 216_000, 0.634, 0.588, -7.24, 0.64, 0.070, 0.472, 0.006),
    "EG": (0.07, 219_000, 0.710, 0.702, -5.73, 0.27, 0.084, 0.349, 0.007),
    "UY": (0.28, 176_000, 0.724, 0.688, -5.10, 0.53, 0.083, 0.232, 0.004),
    "NG": (0.32, 171_000, 0.747, 0.695, -7.11, 0.52, 0.134, 0.286, 0.020),
    "TR": (0.13, 176_000, 0.645, 0.650, -7.60, 0.29, 0.098, 0.265, 0.005),
}
ALL_ROWS = {
    "duration_ms": 192_556, "danceability": 0.685, "energy": 0.653, "loudness": -6.42, "speechiness": 0.095,
    "acousticness": 0.271, "instrumentalness": 0.018, "liveness": 0.171, "valence": 0.549, "tempo": 122.3,
}  # fmt: skip
POPULARITY_OF = {"ZA": 70, "VE": 81, "US": 87, "EG": 59, "UY": 75, "NG": 66}

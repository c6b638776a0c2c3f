"""The experiments of the SLAMS paper, on a simulated atmosphere or on ERA5, each with one configuration.

    python -m examples.paper --help
    python -m examples.paper cases --quick     # a minute
    python -m examples.paper cases --full      # the table of the documentation

The paper (Qu et al. 2024, arXiv 2404.06665) analyses temperature profiles from a degraded background, precipitation of
gauges and outgoing longwave radiation, in the space of pixels and in a latent space.
"""

"""Reports: what may be concluded from the evidence, as pages, figures and a command line."""

# How GPAW is built: read by GPAW's setup.py through the environment variable GPAW_CONFIG.
# The library names are Debian's and Ubuntu's; elsewhere, point GPAW_CONFIG at a siteconfig of your own.
mpi = True
compiler = "mpicxx"
libraries = ["xc", "openblas", "fftw3", "scalapack-openmpi"]
fftw = True
scalapack = True

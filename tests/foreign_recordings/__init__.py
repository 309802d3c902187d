"""Small recordings in the layouts of other projects, written with numpy, h5py and Pillow."""

//! Kernel side of the uarr storage engine: rings, aligned buffers, files, maps, the Storage trait.

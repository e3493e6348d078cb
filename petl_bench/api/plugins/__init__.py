"""The code of plugins: what an author must write, which files a plugin is, whether it is what was planned."""

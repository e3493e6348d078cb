"""What lies under a data root, which files hold the clips of the lists, and what is known of them."""

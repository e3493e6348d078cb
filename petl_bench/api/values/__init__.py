"""Values of options: types and limits, lists and folders on the command line, which value a run settles on."""

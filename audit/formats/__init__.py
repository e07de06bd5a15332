"""What records look like to other programs: a module for each family of formats. Pure."""

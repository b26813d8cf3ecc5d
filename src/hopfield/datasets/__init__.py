"""Where data comes from: files of the user, and data that ships with a library or is fetched with a checksum."""

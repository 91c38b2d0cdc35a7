"""Letters by e-mail about what happens in the course (``[mail]``)."""

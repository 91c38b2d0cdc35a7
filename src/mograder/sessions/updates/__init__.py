"""Updates: a new release of an item, merged into the copies that students have already."""

"""Real hubs, fronts, browsers and editor clients, for the benchmarks and for the tests."""

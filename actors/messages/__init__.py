"""What actors tell each other: frozen values, one module per receiver. Orders are imperative, facts are past tense."""

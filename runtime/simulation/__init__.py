"""The deterministic stage: whole clusters on one seeded scheduler, with virtual clocks and a simulated network."""

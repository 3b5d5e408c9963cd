"""What is known of the answers that were given: kept, counted, compared and watched."""

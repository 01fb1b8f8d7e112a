"""Images, membership splits and augmentation."""

"""Networks from torch: modules as they are traced, and files of torch.export."""

// Imported before a plugin that serves several configurations: its start-up code cannot read the configuration.
import { forbidConfig } from "./instance";

forbidConfig();

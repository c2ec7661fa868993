// Imported in front of a plugin that serves many configurations: at start there is no one configuration to read.
import { forbidConfig } from "./instance";

forbidConfig();

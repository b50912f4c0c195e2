// What `pulumi up` runs.
import { analytics } from "./analytics";

export = analytics;

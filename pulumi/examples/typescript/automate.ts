// `node automate.js preview|up|destroy`: the stack by the Automation API, which needs no language host.
// NAMESPACE is where the objects go; WAIT=false does not wait until the proxy serves.
import { LocalWorkspace } from "@pulumi/pulumi/automation";
import { analytics } from "./analytics";

const log = (text: string) => process.stderr.write(text);
const show = (changes: unknown, outputs: object = {}) =>
  process.stdout.write(`${JSON.stringify({ changes, outputs })}\n`);

async function main(): Promise<number> {
  const stack = await LocalWorkspace.createOrSelectStack({
    stackName: "dev",
    projectName: "analytics",
    program: analytics,
  });
  await stack.setConfig("heliosproxy:namespace", { value: process.env.NAMESPACE ?? "databases" });
  await stack.setConfig("analytics:wait", { value: process.env.WAIT ?? "true" });
  switch (process.argv[2]) {
    case "preview":
      show((await stack.preview({ onOutput: log })).changeSummary);
      return 0;
    case "up": {
      const done = await stack.up({ onOutput: log });
      const outputs = Object.entries(done.outputs).map(([name, output]) => [name, output.value]);
      show(done.summary.resourceChanges, Object.fromEntries(outputs));
      return 0;
    }
    case "destroy":
      show((await stack.destroy({ onOutput: log })).summary.resourceChanges);
      return 0;
    default:
      log("usage: node automate.js preview|up|destroy\n");
      return 2;
  }
}

main().then(
  (status) => process.exit(status),
  (error) => {
    log(`${error}\n`);
    process.exit(1);
  },
);

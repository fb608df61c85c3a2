import { servePlugin } from "../../src/plugin/serve.ts";
import hooks from "./hostile.ts";

servePlugin(hooks);

// The worker that files go through, as a file of its own.
import { serveFiles } from '@trunkline/sdk/files';

serveFiles();

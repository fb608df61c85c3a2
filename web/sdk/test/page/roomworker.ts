import { serveRoomFrames } from "../../src/room/worker.ts";

serveRoomFrames();

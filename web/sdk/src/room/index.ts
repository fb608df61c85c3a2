// @trunkline/sdk/room: rooms, for the browser and, without sound and picture, for Node. It stands apart from the rest of
// the SDK, so that whoever only calls does not fetch it.

export { closeGroup, createGroup, forgetGroup, joinGroup, listGroups, parseRoomLink } from "./groups.ts";
export type * from "./types.ts";

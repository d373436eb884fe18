// A function as ECMAScript modules have them, with a dependency of its own folder and an await at the top.
import { double } from "./double.mjs";

const started = await Promise.resolve("started");

export const handler = async (event, context) => {
  return { value: double(event.value), started, version: context.functionVersion };
};
